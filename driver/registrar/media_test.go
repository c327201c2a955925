package registrar

import (
	"slices"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/wire"
)

func TestMediaOf(t *testing.T) {
	for _, c := range []struct {
		what   string
		listen wire.Listen
		want   []string
	}{
		{"behind a 1:1 NAT", wire.Listen{Media: "10.0.0.7", PublicIP: "203.0.113.7", PortMin: 20000, PortMax: 20999}, []string{"203.0.113.7:20000-20999"}},
		{"one address", wire.Listen{Media: "10.0.0.7", PortMin: 20000, PortMax: 20000}, []string{"10.0.0.7:20000-20000"}},
		{"and loopback", wire.Listen{Media: "10.0.0.7", Loopback: true, PortMin: 20000, PortMax: 20999}, []string{"10.0.0.7:20000-20999", "127.0.0.1:20000-20999"}},
		{"IPv6", wire.Listen{Media: "2001:db8::7", PortMin: 20000, PortMax: 20999}, []string{"[2001:db8::7]:20000-20999"}},
	} {
		if got := mediaOf(c.listen); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
	every := strings.Join(mediaOf(wire.Listen{Loopback: true, PortMin: 20000, PortMax: 20999}), ",")
	if !strings.Contains(every, "127.0.0.1:20000-20999") {
		t.Errorf("every address: %q", every)
	}
	if got := strings.Join(mediaOf(wire.Listen{PortMin: 20000, PortMax: 20999}), ","); strings.Contains(got, "127.0.0.1") {
		t.Errorf("without loopback: %q", got)
	}
}
