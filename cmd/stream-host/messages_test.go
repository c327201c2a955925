package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/person"
	"github.com/nearcast/nearcast/internal/wire"
)

// echoes is an app without a window: it says when it is ready, answers, and quits.
const echoes = `set -e
	nearcast-app recv --timeout 200ms || test $? = 3
	nearcast-app send "no JSON" || test $? = 2
	nearcast-app send '{"early":true}'
	nearcast-app ready
	while m=$(nearcast-app recv); do
		echo "got ${#m} characters"
		case $m in
			'"quit"') printf 'bye\n' | nearcast-app send --text; nearcast-app quit; sleep 100;;
			*) nearcast-app send "{\"echo\":$m}";;
		esac
	done`

// A script in a cell speaks with the page, over a connection that is lost.
func TestScriptExchangesMessages(t *testing.T) {
	s := newStreamHost(t, "-c", echoes)
	s.spec.Command, s.spec.ReadyByApp = "/bin/sh", true
	s.start()
	seat := s.waitState(wire.SeatIdle).Seat
	p := s.claim(seat).Connect().Talk("one", 0)
	said := func(p *person.Person, want string) {
		t.Helper()
		if got := p.Said(); got != want {
			t.Fatalf("the app says %.100q, want %.100q", got, want)
		}
	}
	said(p, `{"early":true}`)
	p.Say(`{"n":1}`)
	said(p, `{"echo":{"n":1}}`)
	large := `"` + strings.Repeat("x", 100<<10) + `"`
	p.Say(large)
	said(p, `{"echo":`+large+`}`)
	p.Say(`2`)
	testkit.Until(t, "the script has it", func() bool { return strings.Contains(s.stdout(), "got 1 characters") })
	p.Vanish()
	s.waitState(wire.SeatDetached)
	had := p.Had()
	q := person.Attach(t, s.brain, seat, p.Grant.Resume).Connect().Talk("two", had)
	if had == 4 { // it came before the person was gone, and does not come again
		said(p, `{"echo":2}`)
	} else {
		said(q, `{"echo":2}`)
	}
	q.Say(`"quit"`)
	said(q, `"bye"`)
	if m := q.Expect(wire.MsgEnded); m.End.Reason != wire.ReasonAppExited || m.End.ExitCode != 0 {
		t.Errorf("ended by %v", m.End)
	}
	if end := s.wantExit(); end.Failed() {
		t.Errorf("the seat failed: %v", end)
	}
	s.wantNothingLeft(true)
}

// How long a message takes to the app and back, beside an empty word on a data channel.
func TestMessageRoundTrip(t *testing.T) {
	s := newStreamHost(t, "-echo-messages")
	s.start()
	p := s.claim(s.waitState(wire.SeatIdle).Seat).Connect().Talk("page", 0)
	const rounds = 200
	measured := map[string][]time.Duration{}
	for _, of := range []struct {
		what string
		text string
	}{{"message", `{"n":1}`}, {"message_64k", `"` + strings.Repeat("x", 64<<10) + `"`}} {
		for range rounds {
			measured["channel"] = append(measured["channel"], p.Ping())
			began := time.Now()
			p.Say(of.text)
			if got := p.Said(); got != of.text {
				t.Fatalf("the app says %.100q", got)
			}
			measured[of.what] = append(measured[of.what], time.Since(began))
		}
	}
	p50 := map[string]string{}
	for what, all := range measured {
		slices.Sort(all)
		p50[what] = fmt.Sprintf("%.2f ms", float64(all[len(all)/2].Microseconds())/1000)
	}
	line, err := json.Marshal(p50)
	testkit.Must(t, err)
	t.Logf("round trips, p50 of %d: %s", rounds, line)
}
