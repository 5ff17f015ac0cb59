// Package rooms holds the house to its plan: the table in docs/architecture.md says which package may import
// which, and this test compares it with what the packages import.
package rooms

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "dproxy/"

// plan reads the table: room to the rooms it may import; "*" allows all.
func plan(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	rooms := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 6 || strings.Contains(line, "---") || strings.Contains(line, "| room |") {
			continue
		}
		var may []string
		for _, name := range strings.Split(cells[4], ",") {
			if name = strings.TrimSpace(name); name != "" {
				may = append(may, name)
			}
		}
		rooms[strings.TrimSpace(cells[2])] = may
	}
	if len(rooms) < 10 {
		t.Fatalf("the table of rooms in docs/architecture.md has %d rows; was its form changed?", len(rooms))
	}
	return rooms
}

type goPackage struct {
	ImportPath, Doc string
	Imports         []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Doc,Imports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestRooms(t *testing.T) {
	rooms := plan(t)
	for _, p := range packages(t) {
		room := strings.TrimPrefix(p.ImportPath, module)
		if strings.HasPrefix(room, "test/") {
			room = "test/..."
		} else {
			t.Run(room+" says what it is", func(t *testing.T) {
				if p.Doc == "" {
					t.Errorf("%s has no package comment", p.ImportPath)
				}
			})
		}
		t.Run(room+" imports what its row allows", func(t *testing.T) {
			may, ok := rooms[room]
			if !ok {
				t.Fatalf("%s has no row in docs/architecture.md", p.ImportPath)
			}
			for _, i := range p.Imports {
				if name, ours := strings.CutPrefix(i, module); ours && !slices.Contains(may, name) && !slices.Contains(may, "*") {
					t.Errorf("%s imports %s", room, name)
				}
			}
		})
	}
}

func TestNothingBelowTestIsInTheProduct(t *testing.T) {
	for _, p := range packages(t) {
		if strings.HasPrefix(p.ImportPath, module+"test/") {
			continue
		}
		for _, i := range p.Imports {
			if strings.HasPrefix(i, module+"test/") {
				t.Errorf("%s imports %s", p.ImportPath, i)
			}
		}
	}
}
