package passwdfile

import (
	"hash/maphash"
	"strings"
)

// users finds the lines of a file by name. It keeps the text once and four to eight bytes for each user.
type users struct {
	text  string
	seed  maphash.Seed
	slots []uint32 // open addressing: offset of the line plus 1, 0 when free
}

// index reads the lines. Empty ones and those that begin with # or : are skipped; the first line of a user
// counts, and duplicate is told of the others.
func index(text string, duplicate func(user string)) *users {
	u := &users{text: text, seed: maphash.MakeSeed()}
	size := 16
	for size < 2*strings.Count(text, "\n")+2 {
		size *= 2
	}
	u.slots = make([]uint32, size)
	for at := 0; at < len(text); {
		end := strings.IndexByte(text[at:], '\n')
		if end < 0 {
			end = len(text) - at
		}
		name := nameOf(lineAt(text, at))
		if name != "" && name[0] != '#' {
			slot := u.slot(name)
			if u.slots[slot] != 0 {
				duplicate(name)
			} else {
				u.slots[slot] = uint32(at) + 1
			}
		}
		at += end + 1
	}
	return u
}

// slot is the place of a user, or the free one where it belongs.
func (u *users) slot(name string) int {
	mask := len(u.slots) - 1
	for i := int(maphash.String(u.seed, name)) & mask; ; i = (i + 1) & mask {
		if u.slots[i] == 0 || nameOf(lineAt(u.text, int(u.slots[i]-1))) == name {
			return i
		}
	}
}

// find returns a user's line.
func (u *users) find(name string) (string, bool) {
	at := u.slots[u.slot(name)]
	if at == 0 {
		return "", false
	}
	return lineAt(u.text, int(at-1)), true
}

func lineAt(text string, at int) string {
	line, _, _ := strings.Cut(text[at:], "\n")
	return strings.TrimSuffix(line, "\r")
}

func nameOf(line string) string {
	name, _, _ := strings.Cut(line, ":")
	return name
}
