/* What systemd refuses to load a unit for, kind by kind. */
#pragma once

#include "unitfiles/file.h"
#include "unitfiles/report.h"

/*
 * Reports into @reporter, of the unit @name: as errors what `systemd-analyze verify` calls broken;
 * as complaints the values of those keys that systemd would leave out with a warning, since nobody
 * reads it on a distant host. Kinds that are not systemd's pass.
 */
void unit_kinds_check(
	const struct unit_file *file, const char *name, struct unit_reporter *reporter);
