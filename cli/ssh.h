/* ssh, fd-forward: to hosts by way of ssh(1), and what --tunnel did at the other end. */
#pragma once

#include "cli/verbs.h"

enum fl_code verb_ssh(struct command *command, struct fl_error *err);
enum fl_code verb_fd_forward(struct command *command, struct fl_error *err);
