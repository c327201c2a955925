package feed

import "maps"

// Whole is for Read, and calls fn once with the whole snapshot, in which All is set, and then with
// each change.
func Whole[T any](fn func(Message[T]) error) func(Message[T]) error {
	snapshot := map[string]T{} // what has come of it; nil once it is whole
	return func(m Message[T]) error {
		if snapshot == nil {
			return fn(m)
		}
		maps.Copy(snapshot, m.Set)
		for _, id := range m.Gone {
			delete(snapshot, id)
		}
		if m.More {
			return nil
		}
		all := Message[T]{Seq: m.Seq, All: true, Set: snapshot}
		snapshot = nil
		return fn(all)
	}
}
