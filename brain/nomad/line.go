package nomad

import (
	"cmp"
	"slices"

	"github.com/hashicorp/nomad/api"
)

// waiting is an app whose present version is yet to be fetched. It is not in Nomad: after a restart, each app
// waits since its present version was registered.
type waiting struct {
	since uint64 // the index of the app's job when it began to wait
	index uint64 // of its present version
	had   bool   // a turn of this version has begun
}

// line sorts apps in the order of their turns: who waits for longest goes first. An app that is registered again
// keeps its place until it has had a turn; then it goes to the end. So apps that are registered again and again
// hold up no other. Those that Nomad refused, or that no node of a turn could fetch, go after the others, the one
// that was tried last at the end.
func (f *Follower) line(due []*api.JobListStub) {
	there := map[string]bool{}
	for _, app := range due {
		there[app.ID] = true
		w := f.waits[app.ID]
		if w == nil {
			w = &waiting{since: app.JobModifyIndex}
			f.waits[app.ID] = w
		} else if w.had && w.index != app.JobModifyIndex {
			w.since, w.had = app.JobModifyIndex, false
		}
		w.index = app.JobModifyIndex
	}
	forget(f.waits, there)
	slices.SortFunc(due, func(a, b *api.JobListStub) int {
		return cmp.Or(cmp.Compare(f.refused[a.ID], f.refused[b.ID]), cmp.Compare(f.waits[a.ID].since, f.waits[b.ID].since))
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
