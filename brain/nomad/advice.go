package nomad

import (
	"fmt"
	"math"
	"slices"
)

const (
	// leastSeats and leastMeasured are how much advice rests on at least. Three people differ; a
	// twentieth of thirty measurements is the second largest of them.
	leastSeats, leastMeasured = 3, 30
	// cpuRoom and memoryRoom are what is proposed beyond what was measured. Processor time that is
	// missing slows an app down, and memory that is missing ends it.
	cpuRoom, memoryRoom = 1.2, 1.25
	// worthIt is by which share a proposal must differ from what the job has.
	worthIt = 0.2
	// MHz and MB are proposed in these steps.
	cpuStep, memoryStep = 50, 64
)

// Figure is one resource of a job.
type Figure struct {
	Has int `json:"has"`
	// Measured is what 95 % of the measurements do not exceed; of memory it is the most of all.
	Measured int `json:"measured"`
	// Proposed differs from Has only where that is worth a change.
	Proposed int `json:"proposed"`
}

// Advice is what a job should ask for.
type Advice struct {
	Job      string `json:"job"`
	Seats    int    `json:"seats"`        // with people, that were measured
	Measured int    `json:"measurements"` // of all of them together
	CPU      Figure `json:"cpu"`          // MHz; zero where the job asks for cores
	Memory   Figure `json:"memory"`       // MB
	// Refused is why there is no advice.
	Refused string   `json:"refused,omitempty"`
	Notes   []string `json:"notes,omitempty"`
}

// Advise says what follows from what was measured.
func Advise(u *Use) Advice {
	a := Advice{Job: u.App, Seats: len(u.Seats), Measured: len(u.CPU), CPU: Figure{Has: u.Seat.MHz, Proposed: u.Seat.MHz}, Memory: Figure{Has: u.Seat.MemoryMB, Proposed: u.Seat.MemoryMB}}
	for why, seats := range u.Unmeasured {
		a.Notes = append(a.Notes, fmt.Sprintf("not measured at times: %d of the seats: %s", len(seats), why))
	}
	slices.Sort(a.Notes)
	if u.Seat.Cores > 0 {
		a.CPU = Figure{}
		a.Notes = append(a.Notes, fmt.Sprintf("the job asks for cores = %d, and Nomad takes no cpu beside it: what the seats use of these is not judged", u.Seat.Cores))
	}
	if a.Measured > 0 {
		cpu := slices.Sorted(slices.Values(u.CPU))
		a.CPU.Measured = int(math.Ceil(cpu[int(math.Ceil(0.95*float64(len(cpu))))-1]))
		a.Memory.Measured = int(math.Ceil(slices.Max(u.Memory)))
	}
	if a.Seats < leastSeats || a.Measured < leastMeasured {
		a.Refused = fmt.Sprintf("%d measurements of %d seats with people are too little: at least %d of %d are needed; use --watch while more people play",
			a.Measured, a.Seats, leastMeasured, leastSeats)
		return a
	}
	if u.Seat.Cores == 0 {
		a.CPU.propose(cpuRoom, cpuStep)
	}
	a.Memory.propose(memoryRoom, memoryStep)
	if most := u.Seat.MemoryMaxMB; most > 0 && a.Memory.Proposed > most {
		a.Memory.Proposed = most
		a.Notes = append(a.Notes, fmt.Sprintf("with room for more, memory would be above memory_max = %d, which Nomad refuses: raise memory_max too", most))
	}
	return a
}

func (f *Figure) propose(room float64, step int) {
	want := max(1, int(math.Ceil(float64(f.Measured)*room/float64(step)))) * step
	if math.Abs(float64(want-f.Has)) > worthIt*float64(f.Has) {
		f.Proposed = want
	}
}
