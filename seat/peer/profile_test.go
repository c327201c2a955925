package peer

import (
	"strings"
	"testing"
)

// The Main profile is taken where the browser offers it in the packetization mode that the seat uses, and then
// the answer has it. Otherwise the answer has the profile of every browser alone.
func TestMainProfile(t *testing.T) {
	const offered = "packetization-mode=1;profile-level-id=4d001f"
	for _, c := range []struct {
		what, instead string
		want          bool
	}{
		{"as offered", offered, true},
		{"in capitals, in another order", "profile-level-id=4D001F;packetization-mode=1", true},
		{"the other packetization mode", "packetization-mode=0;profile-level-id=4d001f", false},
		{"not offered", "packetization-mode=1;profile-level-id=58001f", false},
		{"with restrictions of its own", "packetization-mode=1;profile-level-id=4d401f", false},
	} {
		t.Run(c.what, func(t *testing.T) {
			offer := newClient(t).offer(t)
			if !strings.Contains(offer, offered) {
				t.Fatalf("the client does not offer Main:\n%s", offer)
			}
			s := newSeat(t, nil)
			answer, err := s.Answer(t.Context(), strings.ReplaceAll(offer, offered, c.instead))
			if err != nil {
				t.Fatal(err)
			}
			answered := strings.Contains(strings.ToLower(answer), "profile-level-id=4d")
			if s.TakesMain() != c.want || answered != c.want {
				t.Errorf("taken: %v, answered: %v", s.TakesMain(), answered)
			}
			if !strings.Contains(strings.ToLower(answer), "profile-level-id=42e0") {
				t.Error("the profile of every browser is missing in the answer")
			}
		})
	}
}

// Another codec has no such profile.
func TestMainProfileOfVP8(t *testing.T) {
	s := newSeat(t, func(cfg *Config) { cfg.Codec = "vp8" })
	if _, err := s.Answer(t.Context(), newClient(t).offer(t)); err != nil || s.TakesMain() {
		t.Errorf("taken: %v, %v", s.TakesMain(), err)
	}
}
