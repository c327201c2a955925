package web_test

import (
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

func walkSigned(v *visit) {
	v.site.token, v.site.expired = "good", "old"
	v.open("/play/viewer")
	v.untilText("You need a link for this app")
	v.until(`document.querySelector('.play-button') === null`)
	v.shot("signed-without-token")

	// Links to the same page, one after the other in one tab.
	v.open("/play/viewer#token=old")
	v.untilText("This link has expired")
	v.shot("signed-expired")
	v.open("/play/viewer#token=wrong")
	v.untilText("This link does not open the app")
	v.untilText("Its key was revoked.")
	v.open("/play/viewer#token=good")
	v.untilText("Model Viewer")
	gone := `!location.href.includes('good') && !location.href.includes('#')`
	v.until(gone)
	v.reload()
	v.untilText("Turn a jet engine")
	v.press(".play-button")
	b := v.site.nextBrain()
	v.site.serve(b, false)
	v.state("streaming")
	v.until(gone)

	// It expires during the session: that goes on, and the next is refused in words.
	v.site.mu.Lock()
	v.site.token, v.site.expired = "another", "good"
	v.site.mu.Unlock()
	v.reload()
	b = v.site.nextBrain()
	if b.hello.Resume != "resume" {
		v.Errorf("hello after a reload = %+v, want resume", b.hello)
	}
	v.site.serve(b, true)
	v.state("streaming")
	b.say(wire.Message{Type: wire.MsgEnded, End: &wire.End{Reason: wire.ReasonTimeLimit}})
	v.untilText("Time is up")
	v.press(".primary")
	v.untilText("This link has expired")
	v.site.mu.Lock()
	defer v.site.mu.Unlock()
	if len(v.site.launches) != 1 {
		v.Errorf("%d launches, want one", len(v.site.launches))
	}
}

// The launch at another site needs the token too.
func walkSignedSiteDies(v *visit) {
	planet := newPlanet(v.T, v.site.video, "eu-west-1", "us-east-1", "ap-northeast-1")
	for _, s := range planet {
		s.token = "good"
	}
	v.site = planet[0]
	v.open("/play/viewer#token=good")
	v.until(`Object.keys(nearcast.race?.results ?? {}).length === 3`)
	v.press(".play-button")
	planet[0].serve(planet[0].nextBrain(), false)
	v.state("streaming")
	v.until(`nearcast.site === 'eu-west-1' && nearcast.stats().then((s) => s.pingMS > 0)`)
	since := time.Now()
	planet[0].die()
	awaitMove(v, planet[0], planet[1], since)
}
