package dialog

import (
	"database/sql"
	"errors"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// runSQL runs statements in an SQLite database, which is made if there is none.
func runSQL(path, statements string) error {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		return err
	}
	_, err = db.Exec(statements)
	return errors.Join(err, db.Close())
}
