/*
 * The agent becomes another release of itself when the coordinator orders it: fetches it over the
 * connection that it has, piece by piece, and checks whose it is (release/release.h) before a byte of
 * it is kept. Then it begins anew by way of launch.h, which sees to it that this ends well.
 *
 * All on the loop thread but for what touches the disk.
 */
#pragma once

#include <uv.h>

#include "agent/config.h"
#include "agent/link.h"
#include "base/error.h"
#include "proto/flota.pb-c.h"

struct upgrade;

struct upgrade_handlers {
	/* Asks for a piece: link_fetch(). */
	enum fl_code (*fetch)(Pb__FetchRequest *request, link_fetched done, void *done_userdata,
		void *userdata, struct fl_error *err);
	/* There is something new to tell: upgrade_result(). */
	void (*told)(void *userdata);
	/* Whether a fence lives on this machine. */
	bool (*fenced)(void *userdata);
	/* The new release is in its place: the agent is to end, and to begin anew. */
	void (*restart)(void *userdata);
};

enum fl_code upgrade_open(struct upgrade **ret_upgrade, uv_loop_t *loop,
	const struct config *config, const struct upgrade_handlers *handlers, void *userdata,
	struct fl_error *err) FL_MUST_CHECK;

/* No fetch is under way any more (its link is closed). @closed comes from the loop. */
void upgrade_close(struct upgrade *upgrade, void (*closed)(void *userdata), void *userdata);

/* An order that was carried out, or is just being, is not again. */
void upgrade_order(struct upgrade *upgrade, const Pb__UpgradeOrder *order);

/* What became of the last order; NULL: there was none. Borrowed until the next turn. */
Pb__UpgradeResult *upgrade_result(struct upgrade *upgrade);

/* The coordinator has answered this agent, and systemd too: whatever was on trial works. */
void upgrade_in_session(struct upgrade *upgrade);
