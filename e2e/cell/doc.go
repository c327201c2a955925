// Package cell runs a hostile app beside another seat, on a real Nomad agent with the
// driver, and looks at what it gets.
//
// A victim's seat streams to a person and keeps a secret everywhere. The attacker's seat
// runs every attack of dev/testapp/attack. The table attacks says what must come out:
// without a cell an attack succeeds, which shows that it works; with a cell it is
// refused. Afterwards the victim must stream as before, and nothing of the attacker may
// be left. TestCell/Defences runs each attack in a cell that lacks its defences: there it
// must succeed.
//
//	go test ./e2e/cell                                   # as root; without root, what is without a cell
//	go test ./e2e/cell -run TestCell/Defences/dumpable   # the attacks that dumpable refuses
//	NEARCAST_OUTCOMES=/tmp/outcomes go test ./e2e/cell   # keeps the outcomes as JSON and Markdown
//	go test ./e2e/cell -run TestDocs -update             # writes the table of docs/SECURITY.md
package cell
