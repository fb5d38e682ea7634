"""What one can talk about with nano: conversations as plain text, without sound and without networks.

``registry`` has every kind of conversation with its share; ``types`` says what a conversation is and which ones are
reserved for evaluation.
"""
