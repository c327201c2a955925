package web_test

import (
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// inLine opens the app at the first site and waits in the queue at a brain of its own.
func inLine(v *visit) (b *brain, kill func(*brain)) {
	v.Helper()
	kill = v.site.startBrain()
	v.open("/play/viewer")
	v.until(`nearcast.race?.decidedMS > 0`)
	// What the person is told, and renewals every second in place of 40 s.
	v.script(`window.told = new Set();
		new MutationObserver(() => told.add(document.querySelector('.waiting .lead')?.innerText)).observe(document.querySelector('.player'), {subtree: true, childList: true, characterData: true});
		const later = window.setTimeout;
		window.setTimeout = (f, ms, ...rest) => later(f, ms === 40000 ? 1000 : ms, ...rest)`)
	v.press(".play-button")
	b = v.site.nextBrain()
	b.say(wire.Message{Type: wire.MsgQueued, Queue: &wire.Queue{Position: 3, EstimateMS: 60_000}})
	v.untilText("You are number 3 in the queue")
	return b, kill
}

// launched fails the test unless the site was asked for so many tickets.
func launched(v *visit, times int) {
	v.Helper()
	v.site.mu.Lock()
	defer v.site.mu.Unlock()
	if n := len(v.site.launches); n != times {
		v.Errorf("the page launched %d times, want %d", n, times)
	}
}

// The brain is killed, and the site has another one, which the page does not know yet.
func walkBrainDiesInLine(v *visit) {
	b, kill := inLine(v)
	v.site.startBrain()
	kill(b)
	lost := time.Now()
	b = v.site.nextBrain()
	v.Logf("in line again after %v", time.Since(lost))
	if b.hello.Ticket != "ticket" && b.hello.Ticket != "renewed" || b.hello.Resume != "" || b.hello.SDP == "" {
		v.Errorf("hello = %+v, want the ticket and an offer", b.hello)
	}
	v.until(`[...told].some((text) => text?.includes('Your place is kept'))`)
	b.say(wire.Message{Type: wire.MsgQueued, Queue: &wire.Queue{Position: 2, EstimateMS: 50_000}})
	v.untilText("You are number 2 in the queue")
	v.until(`!document.body.innerText.includes('Your place is kept')`)
	v.site.serve(b, false)
	v.state("streaming")
	launched(v, 1)
}

// All brains of the site are away for some seconds, and everybody says so: the page
// neither leaves for another site nor launches anew, and its ticket stays good.
func walkBrainsAwayInLine(v *visit) {
	planet := newPlanet(v.T, v.site.video, "eu-west-1", "us-east-1")
	v.site = planet[0]
	b, kill := inLine(v)
	for _, s := range planet {
		s.mu.Lock()
		s.sick = map[string]bool{"eu-west-1": true}
		s.mu.Unlock()
	}
	kill(b)
	v.untilText("Your place is kept")
	v.shot("queued-kept")
	renewals := func() int {
		v.site.mu.Lock()
		defer v.site.mu.Unlock()
		return v.site.renewals
	}
	before := renewals()
	// Long enough for the page to find out that the site has no brain.
	v.until(`performance.now() > (window.since ??= performance.now()) + 5000`)
	if renewals() == before {
		v.Error("the ticket was not renewed while there was no brain")
	}
	v.untilText("You are number 3 in the queue")
	for _, s := range planet {
		s.mu.Lock()
		s.sick = nil
		s.mu.Unlock()
	}
	v.site.startBrain()
	b = v.site.nextBrain()
	if b.hello.Ticket != "renewed" || b.hello.SDP == "" {
		v.Errorf("hello = %+v, want the renewed ticket and an offer", b.hello)
	}
	launched(v, 1)
	if len(planet[1].brains) > 0 {
		v.Error("the page went to another site")
	}
	b.say(wire.Message{Type: wire.MsgQueued, Queue: &wire.Queue{Position: 2, EstimateMS: 50_000}})
	v.untilText("You are number 2 in the queue")

	// The brain that died had marked the ticket as used.
	b.say(wire.Message{Type: wire.MsgRefused, Problem: &wire.Problem{Type: wire.ProblemTicketUsed, Title: "Used", Status: 403, Detail: "Used."}})
	b = v.site.nextBrain()
	b.say(wire.Message{Type: wire.MsgQueued, Queue: &wire.Queue{Position: 9, EstimateMS: 90_000}})
	v.untilText("You are number 9 in the queue")
	v.untilText("Your earlier place in the queue could not be kept.")
	v.shot("queued-lost")
	launched(v, 2)
}
