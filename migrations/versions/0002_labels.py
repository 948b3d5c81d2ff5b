"""Label sources: what each file has said, and how far each source has been heard."""

import sqlalchemy as sa
from alembic import op


revision: str = '0002'
down_revision: str | None = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Plain statements: a batch would copy the whole table, however many million rows it has.
    op.add_column('file', sa.Column('said', sa.String(), nullable=True))
    op.create_index('ix_file_said', 'file', ['source', 'is_current', 'removed_at'], unique=False, sqlite_where=sa.text('said IS NOT NULL'))
    op.add_column('source_state', sa.Column('cursor', sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column('source_state', 'cursor')
    op.drop_index('ix_file_said', table_name='file')
    op.drop_column('file', 'said')
