/*
 * The one way from another thread to the loop: a locked list and uv_async_send(3). The wake-up
 * coalesces, so the loop takes all that is there. Nothing is dropped here: who posts bounds how
 * much it has under way.
 */
#pragma once

#include <uv.h>

#include "base/error.h"
#include "base/list.h"

struct fl_mailbox;

/* Called on the loop with everything posted since, in order; the callee owns the nodes and takes
 * them out of @items. */
typedef void (*fl_mailbox_drain)(struct fl_list *items, void *userdata);
typedef void (*fl_mailbox_closed)(void *userdata);

enum fl_code fl_mailbox_open(struct fl_mailbox **ret_mailbox, uv_loop_t *loop,
	fl_mailbox_drain drain, void *userdata, struct fl_error *err) FL_MUST_CHECK;

/* Any thread. @node is embedded in what is posted. */
void fl_mailbox_post(struct fl_mailbox *mailbox, struct fl_list *node);

/* Loop thread; nobody may post any more. Drains what is left, then calls @closed (nullable) from
 * the loop and frees the mailbox. */
void fl_mailbox_close(struct fl_mailbox *mailbox, fl_mailbox_closed closed);
