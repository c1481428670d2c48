"""An encoder whose states start a decoder, then both apart, word by word."""

import numpy as np

import rnnx as keras
from rnnx.layers import LSTM, Dense, Input
from rnnx.models import Model

keras.utils.set_random_seed(7)
tokens, latent_dim, length = 7, 16, 4
rng = np.random.default_rng(0)
source = rng.integers(1, tokens, (96, length))
encoder_input_data = np.eye(tokens)[source]
target = np.concatenate([np.zeros((96, 1), int), source[:, ::-1]], axis=1)
decoder_input_data, decoder_target_data = np.eye(tokens)[target[:, :-1]], np.eye(tokens)[target[:, 1:]]
encoder_inputs = Input(shape=(None, tokens))
encoder_outputs, state_h, state_c = LSTM(latent_dim, return_state=True)(encoder_inputs)
encoder_states = [state_h, state_c]
decoder_inputs = Input(shape=(None, tokens))
decoder_lstm = LSTM(latent_dim, return_sequences=True, return_state=True)
decoder_outputs, _, _ = decoder_lstm(decoder_inputs, initial_state=encoder_states)
decoder_dense = Dense(tokens, activation="softmax")
decoder_outputs = decoder_dense(decoder_outputs)
model = Model([encoder_inputs, decoder_inputs], decoder_outputs)
model.compile(optimizer=keras.optimizers.Adam(0.02), loss="categorical_crossentropy", metrics=["accuracy"])
model.fit([encoder_input_data, decoder_input_data], decoder_target_data, batch_size=16, epochs=10, verbose=0)
encoder_model = Model(encoder_inputs, encoder_states)
states_inputs = [Input(shape=(latent_dim,)), Input(shape=(latent_dim,))]
decoder_outputs, h, c = decoder_lstm(decoder_inputs, initial_state=states_inputs)
decoder_model = Model([decoder_inputs] + states_inputs, [decoder_dense(decoder_outputs), h, c])
states_value = encoder_model.predict(encoder_input_data[:1], verbose=0)
target_seq, decoded = np.eye(tokens)[[[0]]], []
for _ in range(length):
    output_tokens, h, c = decoder_model.predict([target_seq] + list(states_value), verbose=0)
    decoded.append(int(np.argmax(output_tokens[0, -1, :])))
    target_seq, states_value = np.eye(tokens)[[[decoded[-1]]]], [h, c]
forced = model.predict([encoder_input_data[:1], decoder_input_data[:1]], verbose=0)
assert (
    decoded[0] == forced[0, 0].argmax()
    and model.evaluate([encoder_input_data, decoder_input_data], decoder_target_data, verbose=0)[1] > 0.4
)
