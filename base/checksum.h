/* A checksum against damage, not against an enemy. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* CRC-32 of IEEE 802.3, as in zlib and RFC 1952, of what had @crc (0 at the beginning) and @len
 * bytes more. */
uint32_t fl_crc32(uint32_t crc, const void *data, size_t len);
