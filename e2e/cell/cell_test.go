package cell

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/dev/testapp/attack"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/seat/cell/internet"
)

// TestCell runs a hostile app in a cell. One agent serves all parts, and where no defence
// is switched off one victim does.
func TestCell(t *testing.T) {
	if !isRoot {
		t.Skip("needs root: without it seats are not isolated")
	}
	testkit.NeedXvfb(t)
	n := newNode(t, "")
	v := n.newVictim()

	// A hostile app gains nothing beyond its own seat.
	t.Run("HostileApp", func(t *testing.T) {
		got := n.in(t, "").hostile(v)
		judge(t, got, func(row) attack.Outcome { return attack.Refused })
		keep(t, "isolated", got)
	})
	t.Run("HostNetwork", func(t *testing.T) { hostNetworkApp(n.in(t, ""), v) })
	t.Run("Internet", func(t *testing.T) { internetApp(n.in(t, ""), v) })

	v.stop()

	// Each attack succeeds where its defence is switched off, so that its being refused
	// says something of the defence.
	t.Run("Defences", func(t *testing.T) {
		groups := map[string][]string{}
		for _, r := range attacks {
			groups[r.without] = append(groups[r.without], r.name)
		}
		for _, without := range slices.Sorted(maps.Keys(groups)) {
			t.Run(without, func(t *testing.T) {
				n := n.in(t, without)
				n.targets.Victim = n.closed() // what one group changes must not count for another
				got := n.hostileWithout(groups[without])
				for _, r := range got {
					i := slices.IndexFunc(attacks, func(row row) bool { return row.name == r.Name })
					if r.Outcome != attack.Succeeded && (attacks[i].plain != varies || r.Outcome != attack.Refused) {
						t.Errorf("%s without %s: %s: %s", r.Name, without, r.Outcome, r.Detail)
					}
				}
				keep(t, "without-"+without, got)
			})
		}
	})
}

// hostNetworkApp: an app with the node's network still gains nothing of other seats.
func hostNetworkApp(n *node, v *victim) {
	var names []string
	for _, r := range hostNetwork {
		names = append(names, r.name)
	}
	got := n.tries(job{network: "host"}, names, nil)
	for i, r := range hostNetwork {
		if got[i].Name != r.name || got[i].Outcome != r.want {
			n.t.Errorf("%s: %+v, want %s", r.name, got[i], r.want)
		}
	}
	keep(n.t, "host-network", got)
	v.unharmed(n.t)
}

// internetApp: an app with the internet reaches what is outside, and nothing of the inside.
func internetApp(n *node, v *victim) {
	if err := internet.Available(); err != nil {
		n.t.Skip(err)
	}
	for _, c := range []struct {
		what    string
		without string
		names   []string
		more    func(*attack.Args)
		want    attack.Outcome
	}{
		{"the inside", "", []string{"loopback", "node-network", "metadata", "abstract-sockets", "unix-sockets"}, nil, attack.Refused},
		{"the outside", "", []string{"node-network"}, func(a *attack.Args) { a.Outside = []string{n.world} }, attack.Succeeded},
		{"the inside, where nothing refuses it", "internet", []string{"node-network", "metadata"}, nil, attack.Succeeded},
	} {
		n.without = c.without
		for _, r := range n.tries(job{network: "internet"}, c.names, c.more) {
			if r.Outcome != c.want {
				n.t.Errorf("%s: %+v, want %s", c.what, r, c.want)
			}
		}
	}
	v.unharmed(n.t)
}

// tries runs some attacks in a seat of their own.
func (n *node) tries(j job, names []string, more func(*attack.Args)) []attack.Result {
	n.t.Helper()
	j.id = "attacker"
	s := n.attacker(j, strings.Join(names, ","), "nearcast-attack-"+nonce()[:8], more)
	defer s.stop()
	return s.attacks()
}
