package main

import (
	"os"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/person"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

var testParams = []wire.Param{{Name: "model", Pattern: "[a-z ']+", Default: "robot"}, {Name: "key", Secret: true}}

// script prints what the app learns of its parameters, again and again, and then shows a
// window.
const script = `echo "start: env=$NEARCAST_PARAM_MODEL arg=$1"
(while sleep 0.05; do cat "$NEARCAST_PARAMS_FILE" 2>/dev/null; done) &
exec "$0"`

func newParamsHost(t *testing.T) *streamHost {
	s := newStreamHost(t)
	s.spec.Params = testParams
	s.spec.FreezeIdle = false
	s.spec.Args = []string{"-c", script, s.spec.Command, "{{param.model}}"}
	s.spec.Command = "/bin/sh"
	return s
}

func (s *streamHost) claimWith(seat wire.Seat, params map[string]string) *person.Person {
	s.t.Helper()
	token, _, err := s.signer.Sign(ticket.Claims{
		Session: ticket.NewSession(), App: s.spec.App, Version: 1, Sites: []string{"here"}, Params: params})
	testkit.Must(s.t, err)
	return person.Attach(s.t, s.brain, seat, token)
}

// An app that starts with the session has the parameters from its first moment.
func TestParamsAtStart(t *testing.T) {
	s := newParamsHost(t)
	s.spec.StartOnClaim = true
	s.start()
	seat := s.waitState(wire.SeatIdle).Seat
	if out := s.stdout(); out != "" {
		t.Errorf("an app ran before the claim: %s", out)
	}
	b := s.claimWith(seat, map[string]string{"model": "it's red", "key": "k1"}).Connect()
	s.waitState(wire.SeatStreaming)
	testkit.Until(t, "the app's first words", func() bool { return strings.Contains(s.stdout(), "start:") })
	if out := s.stdout(); !strings.Contains(out, "start: env=it's red arg=it's red\n") {
		t.Errorf("the app says %s", out)
	}
	testkit.Until(t, "the file", func() bool { return strings.Contains(s.stdout(), `{"key":"k1","model":"it's red"}`) })
	before := b.Frames()
	testkit.Until(t, "the app's window", func() bool { return strings.Contains(s.stdout(), `"ready"`) })
	b.Press("KeyA", "a")
	testkit.Until(t, "the key at the app", func() bool { return strings.Contains(s.stdout(), `"key_press"`) })
	testkit.Until(t, "the picture that follows", func() bool { return b.Frames() > before })
	b.Send(wire.Message{Type: wire.MsgLeave})
	b.Expect(wire.MsgEnded)
	s.wantExit()
	s.wantNothingLeft(true)
	s.wantNoSecret("k1")
}

// A warm app runs with the defaults, and learns the session's values by the file.
func TestParamsOfWarmApp(t *testing.T) {
	s := newParamsHost(t).start()
	seat := s.waitState(wire.SeatIdle).Seat
	testkit.Until(t, "the app", func() bool { return strings.Contains(s.stdout(), "start: env=robot arg=robot\n") })
	b := s.claimWith(seat, map[string]string{"model": "car", "key": "k1"})
	testkit.Until(t, "the file", func() bool { return strings.Contains(s.stdout(), `{"key":"k1","model":"car"}`) })
	b.Connect()
	b.Send(wire.Message{Type: wire.MsgLeave})
	b.Expect(wire.MsgEnded)
	s.wantExit()
	s.wantNothingLeft(true)
	s.wantNoSecret("k1")
}

// wantNoSecret looks for a secret in the log and in what the driver reads.
func (s *streamHost) wantNoSecret(secret string) {
	s.t.Helper()
	for _, name := range []string{wire.LogFile, wire.ExitFile, wire.SpecFile} {
		raw, err := os.ReadFile(s.sub("run/" + name))
		testkit.Must(s.t, err)
		if text := string(raw); strings.Contains(text, `"`+secret+`"`) || strings.Contains(text, secret+" ") {
			s.t.Errorf("%s has the secret:\n%s", name, text)
		}
	}
}
