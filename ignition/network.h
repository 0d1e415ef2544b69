/* A machine's network as the programs that set it up read it. */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "ignition/machine.h"

/* Whether the description says anything of the network; else the system keeps its own way. */
bool network_is_described(const struct machine *machine);

/* systemd.network(5). */
void network_write_networkd(const struct machine *machine, struct fl_buf *out);

/* nm-settings-keyfile(5). */
void network_write_keyfile(const struct machine *machine, struct fl_buf *out);
