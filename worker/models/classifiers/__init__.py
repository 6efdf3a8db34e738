"""Image classifiers made with Keras: three of `keras.applications`, and any saved model."""
