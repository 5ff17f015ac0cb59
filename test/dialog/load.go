package dialog

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Case is a scenario with what is expected of it.
type Case struct {
	*Scenario
	Golden Views
}

// Load reads the scenarios NAME.txtar of dir/scenarios and their golden files dir/golden/NAME.txt, in order of their names.
func Load(dir string) ([]Case, error) {
	files, err := filepath.Glob(filepath.Join(dir, "scenarios", "*.txtar"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no scenarios in %s", dir)
	}
	var all []Case
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".txtar")
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		s, err := Parse(name, text)
		if err != nil {
			return nil, err
		}
		golden, err := os.ReadFile(filepath.Join(dir, "golden", name+".txt"))
		if err != nil {
			return nil, err
		}
		v, err := ParseGolden(string(golden))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, Case{Scenario: s, Golden: v})
	}
	return all, nil
}
