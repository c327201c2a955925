package router

import (
	"encoding/json"
	"testing"

	"github.com/nearcast/nearcast/internal/wire"
)

func TestICE(t *testing.T) {
	for _, tt := range []struct {
		name string
		ice  ICE
		want string
	}{
		{"none", ICE{}, `[]`},
		{"stun", ICE{STUN: []string{"stun:a:1", "stun:b:1"}}, `[{"urls":["stun:a:1","stun:b:1"]}]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.ice.check(); err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(tt.ice.servers())
			if err != nil || string(got) != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// TestPick checks that replicas share the load and the unhealthy get none.
func TestPick(t *testing.T) {
	of := []wire.Instance{{ID: "dead"}, {ID: "a", Healthy: true}, {ID: "gone"}, {ID: "b", Healthy: true}}
	for chance, want := range map[float64]string{0: "a", 0.49: "a", 0.5: "b", 0.999: "b"} {
		if got, ok := pick(of, func() float64 { return chance }); !ok || got.ID != want {
			t.Errorf("%v: %q, want %q", chance, got.ID, want)
		}
	}
	if got, ok := pick(of[:1], func() float64 { return 0 }); ok {
		t.Errorf("picked %q", got.ID)
	}
}

func TestConnectURL(t *testing.T) {
	for base, want := range map[string]string{
		"wss://b.example": "wss://b.example/v1/connect", "ws://127.0.0.1:8090/": "ws://127.0.0.1:8090/v1/connect",
		"wss://b.example/eu/connect": "wss://b.example/eu/connect", "": "", "b.example": "", "://": "",
	} {
		if got := connectURL(base); got != want {
			t.Errorf("%q: %q, want %q", base, got, want)
		}
	}
}
