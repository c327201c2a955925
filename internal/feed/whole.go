package feed

import "maps"

// Whole is for Read, and calls fn once with the whole snapshot, and then with each change.
func Whole[T any](fn func(all bool, set map[string]T, gone []string) error) func(Message[T]) error {
	snapshot := map[string]T{} // what has come of it; nil once it is whole
	return func(m Message[T]) error {
		if snapshot == nil {
			return fn(false, m.Set, m.Gone)
		}
		maps.Copy(snapshot, m.Set)
		for _, id := range m.Gone {
			delete(snapshot, id)
		}
		if m.More {
			return nil
		}
		all := snapshot
		snapshot = nil
		return fn(true, all, nil)
	}
}
