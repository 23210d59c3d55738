//! What copied files were at the time of the copy: `index` beside a snapshot's files.
