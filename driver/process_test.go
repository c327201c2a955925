package driver

import (
	"os"
	"slices"
	"testing"

	"github.com/nearcast/nearcast/internal/unixuser"
	"github.com/nearcast/nearcast/internal/wire"
)

// A seat's end ends all processes of its users. A spec that names the system's users
// must not end the node.
func TestMarkNamesNoUserOfTheSystem(t *testing.T) {
	own := unixuser.Seats.Min
	m := markOf(&wire.Spec{Nonce: "n", OwnUsers: []int{0, own, os.Geteuid() % minUser, minUser - 1}})
	if !slices.Equal(m.users, []int{own}) {
		t.Errorf("the seat owns the processes of %v", m.users)
	}
	if m := markOf(&wire.Spec{Nonce: "n", OwnUsers: []int{0, 0}}); m.owns(os.Getpid()) && os.Geteuid() == 0 {
		t.Error("the seat owns the processes of root")
	}
}
