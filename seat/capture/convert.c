#include "convert.h"

// The coefficients of BT.709 in 1/256. Each row's sum is exact (220, 0, 0), so
// that grey stays grey.
enum { YB = 16, YG = 157, YR = 47, UB = 112, UG = -87, UR = -25, VB = -10, VG = -102, VR = 112 };

static void luma(const uint8_t *p, uint8_t *y, int from, int to)
{
	for (int x = from; x < to; x++)
		y[x] = (uint8_t)(((p[4*x]*YB + p[4*x+1]*YG + p[4*x+2]*YR + 128) >> 8) + 16);
}

static void chroma(const uint8_t *p, const uint8_t *q, uint8_t *u, uint8_t *v, int from, int to)
{
	for (int x = from; x < to; x++) {
		const uint8_t *a = p + 8*x, *c = q + 8*x;
		int b = a[0] + a[4] + c[0] + c[4];
		int g = a[1] + a[5] + c[1] + c[5];
		int r = a[2] + a[6] + c[2] + c[6];
		u[x] = (uint8_t)(((b*UB + g*UG + r*UR + 512) >> 10) + 128);
		v[x] = (uint8_t)(((b*VB + g*VG + r*VR + 512) >> 10) + 128);
	}
}

#ifdef __SSE2__ // of every amd64
#include <emmintrin.h>

// Two pixels' [B,R] or [G,0] lanes side by side: pmaddwd makes a 32-bit sum a pixel.
#define PAIR(lo, hi) _mm_set1_epi32(((int)(hi) << 16) | ((lo) & 0xffff))

static inline __m128i luma4(__m128i br, __m128i g)
{
	__m128i s = _mm_add_epi32(_mm_madd_epi16(br, PAIR(YB, YR)), _mm_madd_epi16(g, PAIR(YG, 0)));
	return _mm_srli_epi32(_mm_add_epi32(s, _mm_set1_epi32(128 + (16 << 8))), 8);
}

static inline __m128i chroma4(__m128i br, __m128i g, __m128i wbr, __m128i wg)
{
	__m128i s = _mm_add_epi32(_mm_madd_epi16(br, wbr), _mm_madd_epi16(g, wg));
	return _mm_srai_epi32(_mm_add_epi32(s, _mm_set1_epi32(512 + (128 << 10))), 10);
}

// pairs adds neighbouring pixels of eight.
static inline __m128i pairs(__m128i a, __m128i b)
{
	__m128 x = _mm_castsi128_ps(a), y = _mm_castsi128_ps(b);
	return _mm_add_epi16(_mm_castps_si128(_mm_shuffle_ps(x, y, 0x88)),
			     _mm_castps_si128(_mm_shuffle_ps(x, y, 0xdd)));
}

// rows converts two rows, 16 pixels at a time, and returns how many pixels it did.
static int rows(const uint8_t *p, const uint8_t *q, uint8_t *y0, uint8_t *y1, uint8_t *u, uint8_t *v, int width)
{
	const __m128i mask = _mm_set1_epi32(0x00ff00ff), low = _mm_set1_epi32(0xff);
	int x = 0;
	for (; x + 16 <= width; x += 16) {
		__m128i br[4], g[4], l0[4], l1[4];
		for (int i = 0; i < 4; i++) {
			__m128i a = _mm_loadu_si128((const __m128i *)(p + 4*x + 16*i));
			__m128i b = _mm_loadu_si128((const __m128i *)(q + 4*x + 16*i));
			__m128i abr = _mm_and_si128(a, mask), bbr = _mm_and_si128(b, mask);
			__m128i ag = _mm_and_si128(_mm_srli_epi32(a, 8), low);
			__m128i bg = _mm_and_si128(_mm_srli_epi32(b, 8), low);
			l0[i] = luma4(abr, ag);
			l1[i] = luma4(bbr, bg);
			br[i] = _mm_add_epi16(abr, bbr);
			g[i] = _mm_add_epi16(ag, bg);
		}
		_mm_storeu_si128((__m128i *)(y0 + x), _mm_packus_epi16(_mm_packs_epi32(l0[0], l0[1]), _mm_packs_epi32(l0[2], l0[3])));
		_mm_storeu_si128((__m128i *)(y1 + x), _mm_packus_epi16(_mm_packs_epi32(l1[0], l1[1]), _mm_packs_epi32(l1[2], l1[3])));

		__m128i br0 = pairs(br[0], br[1]), br1 = pairs(br[2], br[3]);
		__m128i g0 = pairs(g[0], g[1]), g1 = pairs(g[2], g[3]);
		__m128i zero = _mm_setzero_si128();
		__m128i cu = _mm_packs_epi32(chroma4(br0, g0, PAIR(UB, UR), PAIR(UG, 0)),
					     chroma4(br1, g1, PAIR(UB, UR), PAIR(UG, 0)));
		__m128i cv = _mm_packs_epi32(chroma4(br0, g0, PAIR(VB, VR), PAIR(VG, 0)),
					     chroma4(br1, g1, PAIR(VB, VR), PAIR(VG, 0)));
		_mm_storel_epi64((__m128i *)(u + x/2), _mm_packus_epi16(cu, zero));
		_mm_storel_epi64((__m128i *)(v + x/2), _mm_packus_epi16(cv, zero));
	}
	return x;
}
#else
static int rows(const uint8_t *p, const uint8_t *q, uint8_t *y0, uint8_t *y1, uint8_t *u, uint8_t *v, int width)
{
	return 0;
}
#endif

static int padded(int width) { return (width + 3) & ~3; }

size_t i420_size(int width, int height)
{
	return (size_t)padded(width)*height + (size_t)padded(width/2)*height;
}

static void convert(const uint8_t *src, int stride, uint8_t *dst, int width, int height, int vector)
{
	int luma_stride = padded(width), chroma_stride = padded(width/2);
	uint8_t *y = dst, *u = dst + (long)luma_stride*height, *v = u + (long)chroma_stride*(height/2);
	for (int line = 0; line < height; line += 2) {
		const uint8_t *p = src + (long)line*stride, *q = p + stride;
		int done = vector ? rows(p, q, y, y + luma_stride, u, v, width) : 0;
		luma(p, y, done, width);
		luma(q, y + luma_stride, done, width);
		chroma(p, q, u, v, done/2, width/2);
		y += 2*luma_stride;
		u += chroma_stride;
		v += chroma_stride;
	}
}

void bgrx_to_i420(const uint8_t *src, int stride, uint8_t *dst, int width, int height)
{
	convert(src, stride, dst, width, height, 1);
}

void bgrx_to_i420_plain(const uint8_t *src, int stride, uint8_t *dst, int width, int height)
{
	convert(src, stride, dst, width, height, 0);
}
