package cell

import (
	"fmt"
	"slices"

	"github.com/nearcast/nearcast/internal/unixuser"
)

// Identity is who runs a program.
type Identity unixuser.User

// Label names the identity in messages.
func (id Identity) Label() string {
	if id.Name != "" {
		return id.Name
	}
	return fmt.Sprint(id.UID)
}

// WithGroups is the identity as a member of more groups.
func (id Identity) WithGroups(gids ...int) Identity {
	id.Groups = slices.Clone(id.Groups)
	for _, gid := range gids {
		if !slices.Contains(id.Groups, gid) {
			id.Groups = append(id.Groups, gid)
		}
	}
	return id
}
