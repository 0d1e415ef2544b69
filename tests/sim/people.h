/* Somebody who changes units and operates machines at random, and waits for the answer. */
#pragma once

#include "tests/sim/network.h"

struct sim;

struct person {
	struct sim *sim;
	struct process process;
	struct link link;
	unsigned n_done, n_refused, n_unanswered, n_operated;
};

void person_open(struct person *person, struct sim *sim, unsigned number);
void person_close(struct person *person);
