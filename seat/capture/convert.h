#ifndef NEARCAST_CONVERT_H
#define NEARCAST_CONVERT_H

#include <stddef.h>
#include <stdint.h>

// i420_size is the size in bytes of a picture of even width and height. Lines are
// padded to four bytes, as is GStreamer's default.
size_t i420_size(int width, int height);

// bgrx_to_i420 converts a picture of even width and height from 32-bit BGRx to
// planar YCbCr 4:2:0, BT.709, limited range, of i420_size. The planes follow
// each other in dst.
void bgrx_to_i420(const uint8_t *src, int src_stride, uint8_t *dst, int width, int height);

// bgrx_to_i420_plain is the same without vector instructions: the reference for tests.
void bgrx_to_i420_plain(const uint8_t *src, int src_stride, uint8_t *dst, int width, int height);

#endif
