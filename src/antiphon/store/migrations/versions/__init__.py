"""The versions, oldest first. One that was released is never edited."""
