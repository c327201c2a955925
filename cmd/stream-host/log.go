package main

import (
	"fmt"
	"os"
	"sync"
)

// maxLog is how long the log of a seat may become, in bytes. What it has to say comes from
// strangers, too: without a limit they could fill the node's disk.
const maxLog = 16 << 20

// boundedLog writes to a file that was opened to append. Where the file has become longer
// than max, also by what libraries print there, it is emptied: the end of a log says more
// than its start.
type boundedLog struct {
	file *os.File
	max  int64

	mu    sync.Mutex
	since int64 // bytes written since the last look
}

// lookEvery is how many bytes are written between two looks at the file's length.
const lookEvery = 64 << 10

func (l *boundedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since += int64(len(p)); l.since >= lookEvery {
		l.since = 0
		l.bound()
	}
	return l.file.Write(p)
}

func (l *boundedLog) bound() {
	info, err := l.file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() <= l.max {
		return
	}
	if l.file.Truncate(0) == nil {
		fmt.Fprintf(l.file, `{"level":"WARN","msg":"the log was emptied: it was too long","bytes":%d}`+"\n", info.Size())
	}
}
