package sizing

import (
	"math"
	"time"
)

// ErlangC is the share of people who find all of c seats taken, and wait, where the offered
// load is a: arrivals a second times the mean length. It is 1 where the seats are too few for the
// queue ever to end.
func ErlangC(c int, a float64) float64 {
	switch {
	case a <= 0:
		return 0
	case float64(c) <= a:
		return 1
	}
	b := 1.0 // Erlang B, by its recursion, which overflows nowhere
	for n := 1; n <= c; n++ {
		b = a * b / (float64(n) + a*b)
	}
	return waits(c, a, b)
}

// waits is Erlang C from Erlang B.
func waits(c int, a, b float64) float64 {
	rho := a / float64(c)
	return b / (1 - rho*(1-b))
}

// maxLoad bounds what is computed: no site has so many seats.
const maxLoad = 1e6

// Seats is the least number of seats with which at most the share wait of the people waits,
// by Erlang C.
func Seats(a, wait float64) int {
	if !(a > 0) {
		return 0
	}
	a, wait = min(a, maxLoad), max(wait, 1e-9)
	b := 1.0
	for n := 1; ; n++ {
		b = a * b / (float64(n) + a*b)
		if float64(n) > a && waits(n, a, b) <= wait {
			return n
		}
	}
}

// WarmFor is Warm for arrivals that were measured. It is one at least: nobody knows when the
// first person comes, who would wait.
func WarmFor(arrivals []Window, start time.Duration, wait float64) int {
	rate, doubt := rateOf(arrivals)
	return max(1, Warm(rate+sure*doubt, start.Seconds(), wait))
}

// Warm is how many idle seats an app needs so that at most the share wait of its people finds
// none: people come by chance, rate a second, and a seat that replaces a taken one takes start
// seconds to be ready. So as many seats are on their way as people came in that time, and a
// person waits who finds all of them on their way.
func Warm(rate, start, wait float64) int {
	a := min(rate*start, maxLoad)
	if !(a > 0) {
		return 0
	}
	wait = max(wait, 1e-9)
	// P(N >= k), of a Poisson variable N with the mean a, by logarithms.
	below := 0.0
	for k := 0; ; k++ {
		if 1-below <= wait {
			return k
		}
		log := -a + float64(k)*math.Log(a)
		l, _ := math.Lgamma(float64(k) + 1)
		below += math.Exp(log - l)
		if float64(k) > a+40*math.Sqrt(a)+40 {
			return k + 1 // what is left is below the exactness of numbers
		}
	}
}
