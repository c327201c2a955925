package peer

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// policed makes a line drop what is above rate, without a queue, but for bursts of some bytes:
// so do the limits of many providers of mobile lines. What is lost is sent again, as the
// seat does it.
func (l *line) policed(rate float64, burst int) *line {
	l.repeats = true
	var at time.Duration
	tokens := float64(burst)
	l.police = func(now time.Duration, size int) bool {
		tokens = min(tokens+rate/8*(now-at).Seconds(), float64(burst))
		at = now
		if tokens < float64(size) {
			return true
		}
		tokens -= float64(size)
		return false
	}
	return l
}

func TestRateOnPolicedLines(t *testing.T) {
	const max = 6_000_000
	for _, rate := range []float64{500_000, 1_000_000, 2_000_000, 4_000_000} {
		for _, burst := range []time.Duration{20 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond} {
			l := newLine(max, 20_000_000).policed(rate, int(rate/8*burst.Seconds())+5000)
			l.run(10 * time.Second)
			const measure = 60 * time.Second
			l.run(measure)
			lost, used, sent := l.lost(), l.used(measure, rate), l.sentBits/measure.Seconds()/rate
			t.Logf("%.1f Mbit/s, bursts of %v: lost %.1f %%, used %.0f %%, sent %.0f %%", rate/1e6, burst, 100*lost, 100*used, 100*sent)
			if lost > 0.04 || used < 0.6 {
				t.Error("too much is lost, or too little used")
			}
		}
	}
}

// A line that polices, and loses some packets at random as well: the mean of forty, since it is luck when a
// trial begins.
func TestRateOnPolicedRadio(t *testing.T) {
	const rate, lines = 2_000_000, 40
	var lost, used float64
	for seed := range uint64(lines) {
		l := newLine(6_000_000, 20_000_000).policed(rate, 30_000)
		l.rng = rand.New(rand.NewPCG(seed, 2))
		l.loss = 0.02
		l.run(10 * time.Second)
		l.run(time.Minute)
		lost += l.lost() / lines
		used += l.used(time.Minute, rate) / lines
	}
	t.Logf("lost %.1f %%, used %.0f %%", 100*lost, 100*used)
	if lost > 0.06 || used < 0.6 {
		t.Error("too much is lost, or too little used")
	}
}

// A trial that something else spoils is made again soon: of 2 Mbit/s, 45 % of 6 were lost for 18 s.
func TestSpoiltTrial(t *testing.T) {
	const rate = 2_000_000
	l := newLine(6_000_000, 20_000_000).policed(rate, 30_000)
	for !l.control.trial.running && l.now < 10*time.Second {
		l.run(100 * time.Millisecond)
	}
	l.loss = 0.5
	for l.control.trial.running && l.now < 10*time.Second {
		l.run(100 * time.Millisecond)
	}
	l.loss = 0
	if l.control.trial.policed {
		t.Fatal("the trial was not spoilt")
	}
	spoilt := l.now
	for !l.control.trial.policed && l.now < spoilt+time.Minute {
		l.run(100 * time.Millisecond)
	}
	t.Logf("known %v after the trial that was spoilt", l.now-spoilt)
	if l.now-spoilt > 7*time.Second {
		t.Errorf("known %v after the trial that was spoilt", l.now-spoilt)
	}
}

// Loss that does not go with the rate does not hold it down for long, whatever a trial said.
func TestPolicedNoMore(t *testing.T) {
	for name, after := range map[string]func(*line){
		"the line is free":     func(l *line) {},
		"it loses 3 %":         func(l *line) { l.loss = 0.03 },
		"it loses 8 %":         func(l *line) { l.loss = 0.08 },
		"a still picture, 3 %": func(l *line) { l.loss, l.demand = 0.03, 300_000 },
	} {
		l := newLine(6_000_000, 20_000_000).policed(2_000_000, 30_000)
		l.run(20 * time.Second)
		if !l.control.trial.policed {
			t.Fatal("nobody noticed that the line polices")
		}
		l.police = nil
		after(l)
		back := l.now
		for l.control.target < 0.8*6_000_000 && l.now < back+2*time.Minute {
			l.run(100 * time.Millisecond)
		}
		t.Logf("%s: 80 %% after %v", name, l.now-back)
		if l.demand == 0 && l.now-back > 40*time.Second {
			t.Errorf("%s: the rate is %.1f of 6 Mbit/s after %v", name, l.control.target/1e6, l.now-back)
		}
		if l.demand > 0 && l.control.target < 1_500_000 {
			t.Errorf("%s: the rate sank to %.1f Mbit/s", name, l.control.target/1e6)
		}
	}
}

// A still picture on a line that loses some: there is no trial, which would take a fifth.
func TestNoTrialOfAStillPicture(t *testing.T) {
	l := newLine(6_000_000, 20_000_000)
	l.loss, l.demand = 0.05, 400_000
	l.opened()
	l.run(2 * time.Minute)
	for _, target := range l.targets {
		if target < 5_000_000 {
			t.Fatalf("the target fell to %.1f Mbit/s", target/1e6)
		}
	}
}

// A trial in which about half as much is lost goes on with less: the line drops what comes at once.
func TestTrialGoesOnWithLess(t *testing.T) {
	const between = (1 + 1/lessStep) / 2                // of what a trial ended with
	const from, at, packets = 2_400_000, 1_900_000, 160 // 16 lost packets at a loss of a tenth
	for name, c := range map[string]struct {
		gone    []int // of each packets
		policed bool
		target  float64 // at the end
	}{
		"nothing is lost":                  {[]int{0}, true, policedPart * 2_200_000},
		"as much is lost":                  {[]int{16}, false, from},
		"more is lost, and then none":      {[]int{40, 0}, true, lessStep * at * between},
		"a spike, and then as before":      {[]int{40, 24}, false, from},
		"half as much, and then little":    {[]int{8, 4}, true, lessStep * at * between},
		"half as much, and then as much":   {[]int{8, 24}, false, from},
		"half as much each time":           {[]int{9, 12, 9}, false, from},
		"half as much, and half, and none": {[]int{9, 12, 0}, true, lessStep * lessStep * at * between},
	} {
		r := newRateControl(6_000_000)
		now := time.Minute
		r.target, r.starting = at, false
		r.trial = lossTrial{running: true, since: now, began: now, from: from, delivered: 2_200_000, first: 0.1, loss: 0.1}
		for i, gone := range c.gone {
			if !r.trial.running {
				t.Fatalf("%s: the trial ended after %d parts", name, i)
			}
			now += time.Second
			fates := make([]fate, packets*min(i+1, 2))
			for n := range fates {
				fates[n] = fate{now - 500*time.Millisecond, n < gone}
			}
			r.try(now, fates)
		}
		if r.trial.running || r.trial.policed != c.policed || math.Abs(r.target-c.target) > 1 {
			t.Errorf("%s: running %v, policed %v, %.2f Mbit/s, want %.2f", name, r.trial.running, r.trial.policed, r.target/1e6, c.target/1e6)
		}
		if !c.policed && (r.trial.own != 0.1 || r.trial.next < now+firstTrialWait) {
			t.Errorf("%s: its own loss is %.3f, and the next trial comes after %v", name, r.trial.own, r.trial.next-now)
		}
	}
}

// A queue that came in a trial is not filled again at its end.
func TestTrialEndsInAQueue(t *testing.T) {
	r := newRateControl(6_000_000)
	now := time.Minute
	r.starting = false
	r.trial = lossTrial{running: true, since: now, began: now, from: 2_400_000, delivered: 2_200_000, first: 0.1, loss: 0.1}
	r.target, r.cut = 1_000_000, now+500*time.Millisecond
	fates := make([]fate, 160)
	for n := range fates {
		fates[n] = fate{now + 500*time.Millisecond, n < 16}
	}
	if r.try(now+time.Second, fates); r.trial.running || r.target != 1_000_000 {
		t.Errorf("running %v, %.2f Mbit/s", r.trial.running, r.target/1e6)
	}
}

// A line that loses a part of everything has its trials after 10 s, 20 s, …, also where few packets let the loss vary.
func TestTrialsOfSteadyLoss(t *testing.T) {
	trials := 0
	const lines = 10
	for seed := range uint64(lines) {
		l := newLine(1_000_000, 20_000_000)
		l.rng = rand.New(rand.NewPCG(seed, 3))
		l.loss = 0.05
		l.opened()
		running := false
		for l.now < 2*time.Minute {
			l.run(50 * time.Millisecond)
			if l.control.trial.running && !running {
				trials++
			}
			if running = l.control.trial.running; !running && int(l.now/time.Second)%20 >= 17 {
				l.demand = 10_000 // the picture rests: a packet now and then says nothing
			} else {
				l.demand = 0
			}
		}
	}
	t.Logf("%.1f trials in two minutes", float64(trials)/lines)
	if trials > 8*lines {
		t.Errorf("%.1f trials in two minutes", float64(trials)/lines)
	}
}

// One large picture, of which a line that polices drops a part, does not say that its loss is its own.
func TestLargePictureOnAPolicedLine(t *testing.T) {
	l := newLine(6_000_000, 20_000_000).policed(2_000_000, 8_000)
	l.run(20 * time.Second)
	if !l.control.trial.policed {
		t.Fatal("nobody noticed that the line polices")
	}
	for range 5 {
		for range 60 {
			l.send(l.now, payloadSize, false)
		}
		l.run(5 * time.Second)
		if !l.control.trial.policed || !l.control.full(l.now) {
			t.Fatal("its loss is taken for its own after a large picture")
		}
	}
}

// What a trial took for a line's own loss is forgotten where the line loses less: else nothing would be tried on a
// line that polices for as long as the next trial waits.
func TestOwnLossIsNoMoreThanThereIs(t *testing.T) {
	l := newLine(6_000_000, 20_000_000)
	l.opened()
	l.control.ownLoss(l.now, 0.25)
	l.loss = 0.01
	l.run(3 * time.Second)
	if own := l.control.trial.own; own > 0.06 {
		t.Errorf("a line that loses 1 %% is taken for one that loses %.0f %%", 100*own)
	}
	l.loss = 0.2
	next := l.now + time.Minute
	l.control.trial.next = next
	for !l.control.trial.running && l.now < next {
		l.run(100 * time.Millisecond)
	}
	if l.now >= next {
		t.Error("there is no trial of a loss of 20 %")
	}
}
