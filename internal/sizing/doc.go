// Package sizing says how many nodes a pool needs, and how many seats an app keeps warm: so
// many that at most a stated share of the people who come has to wait. It is pure: the same
// question has the same answer, and it asks nobody.
//
//	d := sizing.Nodes(sizing.Pool{SeatsPerNode: 8, Max: 20, Ready: 4 * time.Minute, Wait: 0.01}, apps, 3, time.Now())
//	d.Nodes  // 5
//	d.Reason // "5 nodes of 8 seats: 21 people now, …"
//
// # Nodes
//
// A node that is asked for now takes people after the time T (Pool.Ready), so what counts is how
// many people there are then. Of an app with n people now, λ arrivals a second, and sessions of
// the mean length S that end by chance, each stays with the probability p = exp(-T/S), and
//
//	m = n·p + λ·S·(1-p)          are expected: "modified offered load", by which Jennings,
//	v = n·p·(1-p) + λ·S·(1-p)    Mandelbaum, Massey and Whitt staff for arrivals that change
//	                             (Management Science 42, 1996)
//
// with the variance v. Of apps that share a pool both add up. m-v of the people are as good as
// certain. The others come and go like the customers of a queue with the offered load v, and get
// as many seats as Erlang's C formula wants for the share that may wait. With T = 0 this is one
// seat for each person, and where T is much longer than sessions, it is Erlang C of λ·S.
//
// λ is measured over windows that end now. A brain that has just started has short ones: the last
// one counts as five minutes at least, the others as one.
// λ is not certain: n arrivals in a window W may be n + 1.28·√n as well (one time in
// ten it is more). The last, longest window counts with that, and a shorter one with n - 0.64·√n,
// which shows a rise as soon as it is likely one; the larger of both counts. Where nobody came,
// nobody is expected: a pool without people has no nodes.
//
// Warm seats of apps whose people are not expected are seats that nobody else can use: they are
// added. A schedule says how many seats there are at least while a window is open, and from T
// before it opens.
//
// # Warm seats
//
// A person who finds no idle seat waits for one to start. Warm says how many idle seats an
// app needs so that those who come while a seat starts find one.
package sizing
