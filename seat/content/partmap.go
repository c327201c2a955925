package content

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const partsSuffix = ".parts"

// partMap records which parts of an object are on disk. It is written after the
// parts are synced, so it never lists a part that is not there.
type partMap struct {
	Bucket   string `json:"bucket"`
	Key      string `json:"key"`
	ETag     string `json:"etag"`
	Size     int64  `json:"size"`
	PartSize int64  `json:"part_size"`
	Done     []byte `json:"done"` // one bit for each part
}

func (m partMap) parts() int     { return int((m.Size + m.PartSize - 1) / m.PartSize) }
func (m partMap) has(i int) bool { return m.Done[i/8]&(1<<(i%8)) != 0 }
func (m partMap) set(i int)      { m.Done[i/8] |= 1 << (i % 8) }
func (m partMap) bounds(i int) (from, to int64) {
	from = int64(i) * m.PartSize
	return from, min(from+m.PartSize, m.Size)
}

func (m partMap) bytes() (n int64) {
	for i := range m.parts() {
		if m.has(i) {
			from, to := m.bounds(i)
			n += to - from
		}
	}
	return n
}

func (m partMap) sameObject(o partMap) bool {
	return m.Bucket == o.Bucket && m.Key == o.Key && m.ETag == o.ETag && m.Size == o.Size &&
		m.PartSize == o.PartSize && len(m.Done) == len(o.Done)
}

func (c *cache) readParts(key string) (m partMap, ok bool) {
	data, err := os.ReadFile(c.path(downloads, key+partsSuffix))
	if err != nil || json.Unmarshal(data, &m) != nil || m.PartSize <= 0 || m.Size < 0 {
		return m, false
	}
	return m, len(m.Done) == (m.parts()+7)/8
}

// partialDone is how many bytes of key another process has downloaded.
func (c *cache) partialDone(key string) int64 {
	if m, ok := c.readParts(key); ok {
		return m.bytes()
	}
	return 0
}

// writeParts replaces the part map of key. It does not use renameio, which syncs:
// a map that a power cut destroys costs a new download, and a second sync for each
// part costs time in every download. The name of the temporary file is fixed, so
// that removePartial also removes what a killed process left.
func (c *cache) writeParts(key string, m partMap) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	path := c.path(downloads, key+partsSuffix)
	temp := c.path(downloads, key+".new"+partsSuffix)
	if err := os.WriteFile(temp, raw, 0o600); err != nil {
		if errors.Is(err, unix.ENOSPC) {
			// The download has its room, and goes on: the map before this one knows fewer parts.
			return c.remove(downloads, filepath.Base(temp))
		}
		return storage("write content", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return storage("write content", err)
	}
	return nil
}
