package router

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// TestPlacement: why a session is where it is, for operators, at each router of the site that placed it.
func TestPlacement(t *testing.T) {
	one, other := newRig(t, withOperator), newRig(t, withOperator)
	other.view.set(func(s *Snapshot) {
		s.Sites[0].Routers = []wire.Instance{{ID: "one", Address: strings.TrimPrefix(one.server.URL, "http://"), Key: "k", Healthy: true}}
	})
	launched := into[wire.LaunchResponse](one, 201, "POST", wire.SessionsPath, wire.LaunchRequest{App: "chess", RTTMS: map[string]float64{"east": 9, "west": 80}, Preferences: wire.Preferences{Deny: []string{"west"}}})
	path := wire.SessionsPath + "/" + launched.Session + wire.PlacementPath
	for name, at := range map[string]*rig{"its own router": one, "another one of the site": other} {
		p := into[wire.ConsolePlacement](at, 200, "GET", path, nil, asOperator()...)
		if p.Entry != "east" || len(p.Candidates) != 2 || p.Candidates[0].Site != "east" || p.Candidates[0].RTTMS != 9 || p.Candidates[0].Reason == "" ||
			p.Candidates[1].Excluded == "" || p.Candidates[0].BrainURL != "" || p.Preferences.Deny[0] != "west" || time.Since(p.At) > time.Minute {
			t.Errorf("at %s: %+v", name, p)
		}
	}
	into[wire.Problem](one, 401, "GET", path, nil)
	into[wire.Problem](one, 401, "GET", path, nil, "Authorization", "Bearer "+launched.Ticket)
	into[wire.Problem](other, 404, "GET", wire.SessionsPath+"/"+strings.Repeat("s", 20)+wire.PlacementPath, nil, asOperator()...)
	// A router that is asked by another one asks nobody.
	into[wire.Problem](other, 404, "GET", path, nil, append(asOperator(), forwardedHeader, "east")...)
}

// TestPlacementsAreBounded: the oldest launches are forgotten, and each keeps a few sites.
func TestPlacementsAreBounded(t *testing.T) {
	var p placements
	for i := range maxPlaced + 10 {
		p.note(strconv.Itoa(i), wire.Preferences{}, make([]wire.Candidate, 3*maxPlacedSites), time.Now())
	}
	if _, ok := p.of("9"); ok || len(p.at) != maxPlaced || len(p.ring) != maxPlaced {
		t.Errorf("%d launches are kept, the tenth is there: %v", len(p.at), ok)
	}
	if got, ok := p.of(strconv.Itoa(maxPlaced + 9)); !ok || len(got.Candidates) != maxPlacedSites {
		t.Errorf("the last launch has %d sites, %v", len(got.Candidates), ok)
	}
	if _, ok := p.of("10"); !ok {
		t.Error("one that is not the oldest is forgotten")
	}
}
