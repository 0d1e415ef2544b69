/*
 * Which peer may send what. What a peer may do follows from its identity alone.
 */
#pragma once

#include "coordinator/exchange.h"

/* Authorises the exchange and gives it to its service; refuses it with FL_E_DENIED, or
 * FL_E_PROTOCOL where it is no request. */
void routes_dispatch(struct exchange *exchange);
