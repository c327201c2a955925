package web_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

func walkManySites(v *visit) {
	s := v.site
	s.far = map[string]time.Duration{}
	for i := range 200 {
		s.far[fmt.Sprintf("far-%d", i)] = 150 * time.Millisecond
	}
	s.far["far-7"] = 30 * time.Millisecond
	s.far["far-8"] = 10 * time.Millisecond
	s.first = []string{"far-1", "far-2"}
	s.advice = []string{"far-7", "far-8"}
	v.open("/play/viewer")
	v.until(`nearcast.race?.decidedMS > 0`)
	race := evaluate[map[string]any](v, `nearcast.race`)
	v.Logf("race: %v", race)
	results := race["results"].(map[string]any)
	if race["leader"] != "far-8" || len(results) != 4 || race["rounds"] != 3.0 || race["probed"] != 4.0 {
		v.Errorf("race: %v, want far-8 after four probes in three rounds", race)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// On a busy machine the last one may still be waited for when the page asks a third time.
	if len(s.probes) != 3 || len(s.probes[0].RTTMS) != 2 || len(s.probes[2].RTTMS)+len(s.probes[2].SilentMS) != 4 {
		v.Errorf("the router was told %+v", s.probes)
	}
}

func walkDeadBeacon(v *visit) {
	planet := newPlanet(v.T, v.site.video, "near", "dead", "sick")
	v.site = planet[0]
	planet[1].plug.pulled.Store(true)
	planet[0].sick = map[string]bool{"sick": true}
	planet[0].far = map[string]time.Duration{"far": 2 * time.Second}
	v.open("/play/viewer")
	v.until(`nearcast.race?.decidedMS > 0`)
	race := evaluate[map[string]any](v, `nearcast.race`)
	v.Logf("race: %v", race)
	// Neither the 2 s of far nor the patience of 2.5 s with dead is in it, also
	// on a busy machine.
	if race["leader"] != "near" || race["decidedMS"].(float64) >= 1900 || race["probed"] != 3.0 {
		v.Errorf("race: %v, want near long before far or dead", race)
	}
	v.press(".play-button")
	planet[0].nextBrain()
	planet[0].mu.Lock()
	defer planet[0].mu.Unlock()
	if rtt := planet[0].launches[0].RTTMS; rtt["dead"] != 0 || rtt["sick"] != 0 || rtt["near"] <= 0 {
		v.Errorf("claimed %v", rtt)
	}
}

// playOn streams from the first of three sites, which serves the page too.
func playOn(v *visit) []*site {
	planet := newPlanet(v.T, v.site.video, "eu-west-1", "us-east-1", "ap-northeast-1")
	v.site = planet[0]
	v.open("/play/viewer")
	v.until(`Object.keys(nearcast.race?.results ?? {}).length === 3`)
	v.press(".play-button")
	b := planet[0].nextBrain()
	planet[0].serve(b, false)
	v.state("streaming")
	v.until(`nearcast.site === 'eu-west-1' && nearcast.stats().then((s) => s.pingMS > 0)`)
	return planet
}

// awaitMove plays the next site's part in a move and gives how long it took.
func awaitMove(v *visit, from, to *site, since time.Time) time.Duration {
	v.Helper()
	var b *brain
	select {
	case b = <-to.brains:
	case <-from.brains:
		v.Fatal("the page came back to the dead site")
	case <-time.After(patience):
		v.Fatalf("no page came to %s; the page is at %s", to.name, evaluate[string](v, `nearcast.state`))
	}
	if b.hello.Ticket != "ticket" || b.hello.Resume != "" {
		v.Errorf("hello = %+v, want a ticket: a new session", b.hello)
	}
	to.serve(b, false)
	v.until(`nearcast.moves.length === 1 && nearcast.state === 'streaming' && document.querySelector('video').videoWidth === 1280`)
	return time.Since(since)
}

func walkSiteDies(v *visit) {
	planet := playOn(v)
	v.script(`window.phases = []; new MutationObserver(() => phases.push(document.querySelector('.player').dataset.phase)).observe(document.querySelector('.player'), {attributes: true})`)
	cut := time.Now()
	planet[0].die()
	v.until(`document.querySelector('.still.shown') && document.querySelector('.reconnect').innerText.includes('Ireland stopped answering')`)
	noticed := time.Now()
	v.Logf("noticed after %v", noticed.Sub(cut))
	v.shot("moving")
	cut = cut.Add(time.Since(noticed)) // looking is not part of it
	lost := func(s *site) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.launches) == 1 && slices.Equal(s.launches[0].Lost, []string{"eu-west-1"}) && s.launches[0].RTTMS["eu-west-1"] == 0 && s.launches[0].RTTMS["us-east-1"] > 0
	}
	took := awaitMove(v, planet[0], planet[1], cut)
	v.Logf("the app was back after %v; moves %v, phases %v", took, evaluate[[]map[string]any](v, `nearcast.moves`), evaluate[[]string](v, `phases`))
	if took > 5*time.Second {
		v.Errorf("the app was back after %v", took)
	}
	if !lost(planet[1]) && !lost(planet[2]) {
		v.Errorf("nobody was told that eu-west-1 is lost: %+v, %+v", planet[1].launches, planet[2].launches)
	}
	v.untilText("Ireland stopped answering. You are now at Virginia, and the app has started again.")
	v.until(`nearcast.site === 'us-east-1'`)
	v.shot("moved")
	v.size(390, 844)
	v.shot("moved-phone")
	v.size(1280, 800)
	v.script(`document.querySelector('[aria-label^="Statistics ("]').click()`)
	v.until(`document.querySelector('.stats').innerText.includes('us-east-1') && document.querySelector('.stats').innerText.includes('measured')`)
	v.script(`document.querySelector('.stats .why summary').click()`)
	v.untilText("you have just lost a session there")
	v.shot("moved-why")
	v.script(`document.querySelector('.banner .tool').click()`)
	v.until(`document.querySelector('.banner').hidden && nearcast.state === 'streaming'`)
}

func walkSiteDiesKnown(v *visit) {
	planet := playOn(v)
	for _, s := range planet[1:] {
		s.mu.Lock()
		s.sick = map[string]bool{"eu-west-1": true}
		s.mu.Unlock()
	}
	cut := time.Now()
	planet[0].die()
	if took := awaitMove(v, planet[0], planet[1], cut); took > 5*time.Second {
		v.Errorf("the app was back after %v", took)
	} else {
		v.Logf("the app was back after %v", took)
	}
}

// Nobody answers at all, for longer than it takes to condemn a site; then
// everybody does: the person comes back to their own seat.
func walkOwnNetwork(v *visit) {
	planet := playOn(v)
	for _, s := range planet {
		s.die()
	}
	v.state("reconnecting")
	v.untilText("The app is still running")
	// Four seconds, by what the page itself sees of them.
	v.until(`performance.now() > (window.since ??= performance.now()) + 4000`)
	if state := evaluate[string](v, `nearcast.state`); state != "reconnecting" {
		v.Errorf("the page is %s", state)
	}
	back := time.Now()
	for _, s := range planet {
		s.revive()
	}
	deadline := time.After(patience)
	for {
		var b *brain
		select {
		case b = <-planet[0].brains:
		case b = <-planet[1].brains:
			v.Fatalf("the page went to another site: %+v", b.hello)
		case <-deadline:
			v.Fatal("the page did not come back")
		}
		if b.hello.Resume != "resume" || b.hello.SDP == "" {
			v.Errorf("hello = %+v, want resume and an offer", b.hello)
		}
		select {
		case <-b.done: // a hello that was under way when the network came back
			continue
		case <-time.After(200 * time.Millisecond):
		}
		planet[0].serve(b, true)
		break
	}
	v.state("streaming")
	v.Logf("resumed %v after the network was back", time.Since(back))
	if n := evaluate[float64](v, `nearcast.moves.length`); n != 0 {
		v.Errorf("%v moves", n)
	}
}

func walkNobodyElse(v *visit) {
	planet := playOn(v)
	for _, s := range planet[1:] {
		s.mu.Lock()
		s.problem = &wire.Problem{Type: wire.ProblemNoSite, Title: "No site can take you now", Status: 503, Detail: "Try again."}
		s.mu.Unlock()
	}
	planet[0].die()
	v.untilText("Ireland stopped answering")
	v.state("reconnecting")
	v.untilText("The app is still running")
	planet[0].revive()
	b := planet[0].nextBrain()
	if b.hello.Resume != "resume" || strings.Contains(b.hello.Ticket, "ticket") {
		v.Errorf("hello = %+v, want the seat that they had", b.hello)
	}
}

func walkSiteDiesWaiting(v *visit) {
	planet := newPlanet(v.T, v.site.video, "eu-west-1", "us-east-1")
	v.site = planet[0]
	v.open("/play/viewer")
	v.until(`Object.keys(nearcast.race?.results ?? {}).length === 2`)
	v.press(".play-button")
	b := planet[0].nextBrain()
	b.say(wire.Message{Type: wire.MsgQueued, Queue: &wire.Queue{Position: 2, EstimateMS: 60_000}})
	v.untilText("You are number 2 in the queue")
	v.press(".waiting .why summary") // it comes in the background
	v.untilText("nearest, with a seat idle")
	v.shot("queued-why")
	cut := time.Now()
	planet[0].die()
	took := awaitMove(v, planet[0], planet[1], cut)
	v.Logf("the app was there after %v", took)
	v.untilText("Ireland stopped answering. You are now at Virginia")
}

func walkAnotherNetwork(v *visit) {
	s := v.site
	listed := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.listed
	}
	v.open("/play/viewer")
	v.until(`nearcast.race?.decidedMS > 0`)
	before := listed()
	v.script(`window.dispatchEvent(new Event('focus')); window.first = nearcast.race.decidedMS`)
	v.script(`window.dispatchEvent(new Event('online'))`)
	v.until(`nearcast.race?.decidedMS > 0 && nearcast.race.decidedMS !== first && nearcast.race.leader === 'eu-central'`)
	if n := listed(); n != before+1 {
		v.Errorf("the sites were asked for %d times, want once: a page just measured is not measured again for being looked at", n-before)
	}
}
