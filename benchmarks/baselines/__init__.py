"""What our files are held against: the same work written as others write it, plainly exported."""
