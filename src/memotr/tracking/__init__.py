"""From predictions to tracks: who is born, who stays, who ends."""
