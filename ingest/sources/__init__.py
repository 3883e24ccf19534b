"""What is no Kafka producer of its own: CSV drops and a polled weather API, published to topics.

`extracts` says which event a line of a file is, `csvlines` reads lines that may be broken, `drops` watches folders and
`memory` knows what is done; `openmeteo` asks the API, `weather` polls it. From their topics on, events of sources enter
like any other. `publish` is how they reach Kafka, and `replay` publishes the rows of a query once.
"""
