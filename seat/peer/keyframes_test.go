package peer

import (
	"testing"
	"time"
)

// A browser asks each 200 ms until a keyframe has come. One is enough, however far the person
// is; and where that one is lost, the next request counts that was made after it should have come.
func TestOneKeyframeForFarPeople(t *testing.T) {
	const step, again, encodes = time.Millisecond, 200 * time.Millisecond, 20 * time.Millisecond
	for _, trip := range []time.Duration{6 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond} {
		for _, lost := range []int{0, 1} {
			var k keyframes
			start := time.Unix(1000, 0)
			made, arrives := 0, time.Duration(-1)
			due := time.Duration(-1)
			at := time.Duration(0)
			for ; arrives < 0 || at < arrives+trip; at += step {
				if at > time.Minute {
					t.Fatalf("round trip %v: no keyframe comes", trip)
				}
				asked := at - trip/2 // when the request that is here now was made
				if asked >= 0 && asked%again == 0 && (arrives < 0 || asked < arrives) && k.ask(start.Add(at), trip) {
					made++
					due = at + encodes
				}
				if at == due {
					k.sent(start.Add(at))
					if made > lost {
						arrives = at + trip/2
					}
				}
			}
			if made != 1+lost {
				t.Errorf("round trip %v, %d lost: %d keyframes are made", trip, lost, made)
			}
			if most := time.Duration(1+lost)*trip + encodes + time.Duration(lost)*(keyframeArriving+again+encodes); arrives > most {
				t.Errorf("round trip %v, %d lost: the keyframe comes after %v, want %v at most", trip, lost, arrives, most)
			}
		}
	}
}
