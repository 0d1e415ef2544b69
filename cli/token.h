/* token: lets machines join the fleet. */
#pragma once

#include "base/strv.h"
#include "cli/verbs.h"
#include "proto/flota.pb-c.h"

/* Asks the coordinator; *ret_reply has a TokensReply. */
enum fl_code token_ask(const struct cli_options *options, Pb__TokensRequest *body,
	Pb__Envelope **ret_reply, struct fl_error *err) FL_MUST_CHECK;

/* What machines will be that join with it: "key=value" each. @words, which are cut up, @pairs and
 * @list (LIMIT_METADATA of each) have to outlive @body. */
enum fl_code token_set_metadata(Pb__TokensRequest *body, struct fl_strv *words, Pb__Metadata *pairs,
	Pb__Metadata **list, struct fl_error *err) FL_MUST_CHECK;

enum fl_code verb_token(struct command *command, struct fl_error *err);
