package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Minor opcodes of MIT-SHM.
const (
	shmQueryVersion = 0
	shmGetImage     = 4
	shmAttachFd     = 6
)

// share makes memory for this process and the server. It has no name: the server
// gets it by its descriptor, so nobody else can find it, and it goes with the last
// process that uses it.
func (s *screen) share() error {
	ext, ok, err := s.x.extension("MIT-SHM")
	if err != nil {
		return err
	} else if !ok {
		return errors.New("the server has no MIT-SHM extension")
	}
	version, err := s.x.call(xquestion(0, ext.opcode, shmQueryVersion))
	if err != nil {
		return err
	}
	major, minor := binary.LittleEndian.Uint16(version[8:]), binary.LittleEndian.Uint16(version[10:])
	if major < 1 || major == 1 && minor < 2 {
		return fmt.Errorf("the server's MIT-SHM is of version %d.%d: memory by descriptor needs 1.2", major, minor)
	}
	mem, fd, err := newSharedMemory(4 * s.maxWidth * s.maxHeight)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	seg := s.x.newID()
	const readOnly = 0
	if _, err = s.x.sendFile(fd, xrequest(ext.opcode, shmAttachFd, seg, readOnly)); err == nil { // has no reply
		_, err = s.x.call(xSync()) // has one, and fails with AttachFd
	}
	if err != nil {
		// wait skips the reply that follows AttachFd's error, by its number.
		unix.Munmap(mem)
		return fmt.Errorf("share memory with the display: %w", err)
	}
	s.shm, s.shmSeg, s.shmExt = mem, seg, ext
	return nil
}

// newSharedMemory makes memory to give away by its descriptor. It is sealed: the
// receiver cannot shrink it (touching what is gone would kill this process by
// SIGBUS), and cannot let it grow.
func newSharedMemory(size int) (mem []byte, fd int, err error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err = unix.MemfdCreate("nearcast picture", flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // Linux before 6.3
		fd, err = unix.MemfdCreate("nearcast picture", flags)
	}
	if err != nil {
		return nil, -1, fmt.Errorf("make shared memory: %w", os.NewSyscallError("memfd_create", err))
	}
	err = os.NewSyscallError("ftruncate", unix.Ftruncate(fd, int64(size)))
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
		err = os.NewSyscallError("fcntl F_ADD_SEALS", err)
	}
	if err == nil {
		mem, err = unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		err = os.NewSyscallError("mmap", err)
	}
	if err != nil {
		unix.Close(fd)
		return nil, -1, fmt.Errorf("make shared memory: %w", err)
	}
	return mem, fd, nil
}
