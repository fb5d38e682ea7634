"""The server: OpenAI's audio routes and Realtime events in front of an assistant."""
