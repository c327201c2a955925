package nomad

import (
	"cmp"
	"slices"

	"github.com/hashicorp/nomad/api"
)

// line sorts apps in the order of their turns: whose present version was registered first goes first, and
// those that Nomad refused after the others, the one that was tried last at the end. So one that it always
// refuses holds up no other, nor does one that is registered again and again.
func (f *Follower) line(due []*api.JobListStub) {
	slices.SortFunc(due, func(a, b *api.JobListStub) int {
		return cmp.Or(cmp.Compare(f.refused[a.ID], f.refused[b.ID]), cmp.Compare(a.JobModifyIndex, b.JobModifyIndex))
	})
}

// overtaken are the turns that go on for the earlier version of an app that has to wait for others now. A turn
// of later nodes is none that the present version could take the place of, so it is among them in any case.
func overtaken(turns map[string]turn, line []*api.JobListStub) (ids []string) {
	for id, t := range turns {
		place := slices.IndexFunc(line, func(app *api.JobListStub) bool { return app.ID == t.of })
		if t.busy && (place > 0 || place == 0 && len(t.late) > 0) && !t.isOf(line[place]) {
			ids = append(ids, id)
		}
	}
	return ids
}

// unwanted are the turns that go on for apps that nodes are not to fetch any more: an app is gone or stopped, its
// meta leaves it out, or it has no content.
func (f *Follower) unwanted(s *step) (ids []string) {
	for id, t := range s.turns {
		if app := s.apps[t.of]; t.busy && (app == nil || !f.fetches(app)) {
			ids = append(ids, id)
		}
	}
	return ids
}
