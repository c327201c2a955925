package peer

import (
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

// A line that polices, and loses some packets at random as well.
func TestRateOnPolicedRadio(t *testing.T) {
	const rate = 2_000_000
	l := newLine(6_000_000, 20_000_000).policed(rate, 30_000)
	l.loss = 0.02
	l.run(10 * time.Second)
	l.run(time.Minute)
	lost, used := l.lost(), l.used(time.Minute, rate)
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
