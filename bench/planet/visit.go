package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nearcast/nearcast/dev"
	"github.com/nearcast/nearcast/dev/planet"
	"github.com/nearcast/nearcast/internal/testkit/browser"
	"github.com/nearcast/nearcast/internal/wire"
)

// visit is a person's first visit: a Chromium with no open connection and an empty
// cache, on the app's page.
type visit struct {
	chrome *browser.Browser
	page   *browser.Page
}

// steps are the page's marks from Play to the first frame, in order.
var steps = []string{"launched", "signalOpen", "granted", "answer", "connected", "firstFrame"}

// seen is what the page knows about a session.
type seen struct {
	Site       string             `json:"site"`
	DecidedMS  float64            `json:"decided_ms"`
	Marks      map[string]float64 `json:"marks"`
	Candidates []wire.Candidate   `json:"candidates"`
}

// arrive opens the app's page at the site that latency-based DNS would answer, and
// waits there for -look.
func (b *bench) arrive(ctx context.Context) (_ *visit, err error) {
	flags := []string{"autoplay-policy=no-user-gesture-required",
		"unsafely-treat-insecure-origin-as-secure=" + strings.Join(b.planet.Origins(), ",")}
	v := &visit{}
	defer func() {
		if err != nil {
			v.close()
		}
	}()
	// close ends it, also when the visit takes too long.
	if v.chrome, err = browser.LaunchIn(context.WithoutCancel(ctx), dev.Namespace(b.planet.Dir, planet.Person), flags...); err != nil {
		return v, err
	}
	if v.page, err = v.chrome.Open(ctx, b.planet.URL()+"/play/"+app); err != nil {
		return v, err
	}
	err = v.page.Until(ctx, "window.nearcast && nearcast.state === 'ready' && document.querySelector('.play-button') && nearcast.race?.decidedMS > 0")
	if err != nil {
		return v, err
	}
	return v, sleep(ctx, b.look)
}

func (v *visit) play(ctx context.Context) (s seen, err error) {
	if err := v.page.Click(ctx, ".play-button"); err != nil {
		return s, err
	}
	if err := v.page.Until(ctx, "nearcast.state === 'streaming' && nearcast.firstFrameMS !== null"); err != nil {
		return s, err
	}
	err = v.page.Eval(ctx, "({site: nearcast.site, decided_ms: nearcast.race.decidedMS, marks: nearcast.marks, candidates: nearcast.candidates})", &s)
	if err == nil && (len(s.Candidates) == 0 || s.Site == "" || s.Marks["firstFrame"] <= 0) {
		err = fmt.Errorf("the page lacks data about its session: %+v", s)
	}
	return s, err
}

func (v *visit) leave(ctx context.Context) error {
	for range 2 { // the page asks to confirm
		if err := v.page.Click(ctx, ".tool.end"); err != nil {
			return err
		}
	}
	return v.page.Until(ctx, "nearcast.state === 'ended'")
}

func (v *visit) close() {
	if v.page != nil {
		v.page.Close()
	}
	if v.chrome != nil {
		v.chrome.Close()
	}
}

// tries is how often a visit is tried: other load on the machine can make it fail.
const tries = 3

// visit makes a visit when all sites have an idle seat. during gets it after arrive.
func (b *bench) visit(ctx context.Context, during func(context.Context, *visit) error) error {
	once := func() error {
		if err := b.ready(ctx); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeoutCause(ctx, 90*time.Second, errors.New("a visit took longer than 90 s"))
		defer cancel()
		v, err := b.arrive(ctx)
		if err != nil {
			return err
		}
		defer v.close()
		if err := b.noteLoad(); err != nil {
			return err
		}
		return during(ctx, v)
	}
	for try := 1; ; try++ {
		err := once()
		if err == nil || ctx.Err() != nil || try == tries {
			return err
		}
		say("a visit failed; retrying: %v", err)
	}
}
