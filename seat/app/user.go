package app

import (
	"slices"

	"github.com/nearcast/nearcast/internal/unixuser"
)

// identity is who the application is.
type identity unixuser.User

// lookup finds the user of a Config.
func lookup(text string) (identity, error) {
	u, err := unixuser.Lookup(text)
	return identity(u), err
}

func withGroup(groups []int, gid int) []int {
	if slices.Contains(groups, gid) {
		return groups
	}
	return append(groups, gid)
}
